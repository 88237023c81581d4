//! What the compiler refuses: a call without an address, with two, with an account on a grant.

#[test]
fn wrong_addresses_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
