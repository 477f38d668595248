//! Memory shared between threads.
