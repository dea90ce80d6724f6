//! Nodes in order of their names, in chunks behind `Arc`: a copy costs one pointer for each chunk,
//! and a change copies one chunk of pointers.

use std::sync::Arc;

use super::Node;

/// Nodes of one chunk. A changed chunk is copied once for each snapshot: 256 pointers are 2 KiB.
const CHUNK: usize = 256;

/// Nodes in order of their names.
#[derive(Clone, Debug, Default)]
pub struct NodeTable {
    /// Never empty chunks, each sorted, all of one before all of the next.
    chunks: Vec<Arc<Vec<Arc<Node>>>>,
    len: usize,
}

impl NodeTable {
    /// How many nodes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A node by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Node>> {
        let chunk = self.chunks.get(self.chunk_of(name))?;
        let at = chunk.binary_search_by(|node| node.name.as_str().cmp(name)).ok()?;
        chunk.get(at)
    }

    /// All nodes in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The nodes whose names come after `name`, in order: the next page of a list.
    pub fn after(&self, name: &str) -> impl Iterator<Item = &Arc<Node>> {
        let chunks = self.chunks.get(self.chunk_of(name)..).unwrap_or_default();
        let skip = chunks
            .first()
            .map_or(0, |chunk| chunk.partition_point(|node| node.name.as_str() <= name));
        chunks.iter().flat_map(|chunk| chunk.iter()).skip(skip)
    }

    /// Puts a node in, in place of the one of that name.
    pub(crate) fn insert(&mut self, node: Arc<Node>) {
        let at = self.chunk_of(node.name.as_str());
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Arc::new(vec![node]));
            self.len = self.len.saturating_add(1);
            return;
        };
        let chunk = Arc::make_mut(chunk);
        match chunk.binary_search_by(|it| it.name.cmp(&node.name)) {
            Ok(place) => {
                if let Some(old) = chunk.get_mut(place) {
                    *old = node;
                }
            }
            Err(place) => {
                chunk.insert(place, node);
                self.len = self.len.saturating_add(1);
                if chunk.len() > CHUNK {
                    let upper = chunk.split_off(CHUNK / 2);
                    self.chunks.insert(at.saturating_add(1), Arc::new(upper));
                }
            }
        }
    }

    /// Takes a node away.
    pub(crate) fn remove(&mut self, name: &str) {
        let at = self.chunk_of(name);
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let Ok(place) = chunk.binary_search_by(|node| node.name.as_str().cmp(name)) else { return };
        let chunk = Arc::make_mut(chunk);
        chunk.remove(place);
        self.len = self.len.saturating_sub(1);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
    }

    /// Where the chunk is that has, or should have, a name.
    fn chunk_of(&self, name: &str) -> usize {
        let after = self.chunks.partition_point(|chunk| {
            chunk.first().is_some_and(|first| first.name.as_str() <= name)
        });
        after.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::node;

    #[test]
    fn names_stay_in_order_over_many_chunks_and_pages() {
        let mut table = NodeTable::default();
        for number in 0..2000_u32 {
            // 1,201 and 2,000 have no common divisor, so every number comes once, out of order.
            table.insert(node(&format!("node-{:04}", number * 1201 % 2000)));
        }
        table.insert(node("node-0007"));
        assert_eq!(table.len(), 2000);
        let names: Vec<String> = table.iter().map(|node| node.name.to_string()).collect();
        let expected: Vec<String> = (0..2000).map(|number| format!("node-{number:04}")).collect();
        assert_eq!(names, expected);
        for name in &names {
            assert_eq!(table.get(name).unwrap().name.as_str(), name);
        }
        assert!(table.get("node-2000").is_none());
        assert!(table.get("a").is_none());
        let page = |after: &str| -> Vec<String> {
            table.after(after).take(2).map(|it| it.name.to_string()).collect()
        };
        assert_eq!(page(""), ["node-0000", "node-0001"]);
        for (at, name) in names.iter().enumerate().take(1997) {
            assert_eq!(page(name), names[at + 1..at + 3]);
        }
        assert!(page("node-1999").is_empty());
        assert_eq!(page("node-0007a"), ["node-0008", "node-0009"]);
    }

    #[test]
    fn nodes_that_are_taken_away_leave_the_others_in_order() {
        let mut table = NodeTable::default();
        (0..1000).for_each(|number| table.insert(node(&format!("node-{number:04}"))));
        (0..1000).filter(|it| it % 3 != 0).for_each(|it| table.remove(&format!("node-{it:04}")));
        (0..400).for_each(|number| table.remove(&format!("node-{number:04}")));
        table.remove("node-9999");
        let names: Vec<String> = table.iter().map(|node| node.name.to_string()).collect();
        let expected: Vec<String> =
            (400..1000).filter(|it| it % 3 == 0).map(|it| format!("node-{it:04}")).collect();
        assert_eq!(names, expected);
        assert_eq!(table.len(), expected.len());
        (400..1000).for_each(|number| table.remove(&format!("node-{number:04}")));
        assert!(table.is_empty() && table.iter().next().is_none());
        table.insert(node("a"));
        assert!(table.get("a").is_some());
    }

    #[test]
    fn a_snapshot_keeps_what_it_had() {
        let mut table = NodeTable::default();
        table.insert(node("a"));
        let before = table.clone();
        let changed = Node { state: crate::snapshot::NodeState::Silent, ..Node::clone(&node("a")) };
        table.insert(Arc::new(changed));
        table.insert(node("b"));
        assert_eq!(before.len(), 1);
        assert_eq!(before.get("a").unwrap().state, crate::snapshot::NodeState::Fresh);
    }
}
