"""Playing footage: by playlists, as one MP4 that grows, and on the page behind a link."""
