/// What is asked of the database; the tests put other things here.
pub fn statement() -> &'static str {
    "SELECT 2"
}
