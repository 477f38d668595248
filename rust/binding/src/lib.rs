//! headrace._native
