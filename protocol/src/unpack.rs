//! The edge between fat-reader and the program that started it.
