"""Find the footage to replay: in files, and on a topic."""
