//! Servers and links that are lost, and come back.
