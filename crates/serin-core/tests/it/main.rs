//! One binary, one file a story.
