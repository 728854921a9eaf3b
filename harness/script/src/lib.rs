//! A script interpreter with Bitcoin's and Elements' consensus and policy rules.
