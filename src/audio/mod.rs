//! Sound in and out.
