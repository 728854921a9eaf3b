//! Liquid: the wallet's coins, the index, and what is watched there.
