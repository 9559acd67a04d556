"""When scores are an event: rules by camera and label, in versions that hold from an event time on."""
