//! alter-tower
