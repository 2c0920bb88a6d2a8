//! placeholder
use super::dead_letter::Letter;
use super::*;
use std::collections::BTreeSet;
use std::time::Duration;
#[derive(Clone, Debug)]
pub struct Embedded {}
#[derive(Clone, Debug)]
pub(super) struct Handle {}
impl Handle {
    pub(super) async fn in_progress(&self) -> Result<()> {
        Ok(())
    }
    pub(super) async fn done(&self) -> Result<()> {
        Ok(())
    }
    pub(super) async fn nak(&self, _: Duration) -> Result<()> {
        Ok(())
    }
}
impl Embedded {
    pub(super) async fn open(_: &Settings, _: Access) -> Result<Self> {
        Ok(Self {})
    }
    pub(super) async fn ensure_subjects(&self, _: &BTreeSet<String>) -> Result<()> {
        Ok(())
    }
    pub(super) async fn subjects(&self) -> Result<Vec<String>> {
        Ok(vec![])
    }
    pub(super) async fn fetch(&self, _: &str, _: usize) -> Result<Vec<Delivery>> {
        Ok(vec![])
    }
    pub(super) async fn publish(&self, _: Message) -> Result<Receipt> {
        Ok(Receipt { sequence: 0, duplicate: false })
    }
    pub(super) async fn dead_letter(&self, _: Letter) -> Result<()> {
        Ok(())
    }
    pub(super) async fn dead_letters(&self, _: &Filter) -> Result<Page> {
        Ok(Page::default())
    }
    pub(super) async fn dead_letter_by_number(&self, _: u64) -> Result<Option<DeadLetter>> {
        Ok(None)
    }
    pub(super) async fn dead_letter_count(&self) -> Result<u64> {
        Ok(0)
    }
    pub(super) async fn drop_dead_letter(&self, _: u64) -> Result<bool> {
        Ok(false)
    }
    pub(super) async fn backlog(&self) -> Result<Vec<Backlog>> {
        Ok(vec![])
    }
    pub(super) async fn check(&self, _: Duration) -> Health {
        Health { last_fetch: None, problem: None }
    }
    pub(super) async fn close(&self) {}
}
