//! Reads from elsewhere: how soon they see what was written, and who is asked.
