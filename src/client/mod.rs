//! The buyer: checks everything, pays, claims, and survives a crash at any point.
