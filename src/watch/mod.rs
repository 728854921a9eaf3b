//! The engine: turns what is observed into transitions and performs their effects.
