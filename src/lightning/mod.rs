//! The Lightning node that a swap is paid to or by.
