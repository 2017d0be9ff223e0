//! anomalyd
fn main(){}
