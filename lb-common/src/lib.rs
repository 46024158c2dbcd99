//! Types and pure algorithms that the kernel program and the agent share.
#![no_std]
