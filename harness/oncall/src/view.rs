//! A look into something outside the process: a server's own tables.

use std::pin::Pin;
use std::sync::Arc;

use crate::html::escaped;

type Looking = Pin<Box<dyn Future<Output = Result<Vec<Table>, String>> + Send>>;

/// One of the page's tools.
#[derive(Clone)]
pub struct View {
    /// The last part of its path under `/debug/`.
    pub path: &'static str,
    /// What somebody finds there.
    pub about: &'static str,
    pub(crate) look: Arc<dyn Fn(Option<String>) -> Looking + Send + Sync>,
}

impl View {
    /// `look` is called each time that somebody opens the view, with what stands behind `?id=` there. It runs beside the
    /// service, not in its runtime.
    pub fn new<F>(
        path: &'static str,
        about: &'static str,
        look: impl Fn(Option<String>) -> F + Send + Sync + 'static,
    ) -> View
    where
        F: Future<Output = Result<Vec<Table>, String>> + Send + 'static,
    {
        View {
            path,
            about,
            look: Arc::new(move |id| Box::pin(look(id))),
        }
    }
}

/// What is shown.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub title: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// Text below the table, kept as it is: a plan.
    pub text: String,
    /// The column whose value opens the view again, as its `?id=`.
    pub link: Option<usize>,
}

impl Table {
    pub(crate) fn html(&self, path: &str) -> String {
        let mut html = format!("<h2>{}</h2>", escaped(&self.title));
        if !self.head.is_empty() {
            html.push_str("<div class=\"wide\"><table><thead><tr>");
            for name in &self.head {
                html.push_str(&format!("<th>{}</th>", escaped(name)));
            }
            html.push_str("</tr></thead><tbody>");
            for row in &self.rows {
                html.push_str("<tr>");
                for (place, cell) in row.iter().enumerate() {
                    let cell = escaped(cell);
                    match self.link == Some(place) {
                        true => html.push_str(&format!(
                            "<td><a href=\"/debug/{path}?id={cell}\">{cell}</a></td>"
                        )),
                        false => html.push_str(&format!("<td>{cell}</td>")),
                    }
                }
                html.push_str("</tr>");
            }
            html.push_str("</tbody></table></div>");
            if self.rows.is_empty() {
                html.push_str("<p>none</p>");
            }
        }
        if !self.text.is_empty() {
            html.push_str(&format!("<pre>{}</pre>", escaped(&self.text)));
        }
        html
    }

    /// For a terminal: columns as wide as their widest cell.
    pub(crate) fn plain(&self) -> String {
        let mut text = format!("{}\n\n", self.title);
        let lines: Vec<&Vec<String>> = std::iter::once(&self.head).chain(&self.rows).collect();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        for line in lines.iter().filter(|line| !line.is_empty()) {
            let cells = line.iter().zip(&widths);
            let cells: Vec<String> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        if !self.text.is_empty() {
            text.push_str(&self.text);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_in_a_browser_and_in_a_terminal() {
        let table = Table {
            title: "pools".to_owned(),
            head: vec!["id".to_owned(), "query".to_owned()],
            rows: vec![vec!["12345".to_owned(), "a < b".to_owned()]],
            link: Some(0),
            ..Table::default()
        };
        assert_eq!(table.plain(), "pools\n\nid     query\n12345  a < b\n");
        let html = table.html("statements");
        assert!(
            html.contains("<a href=\"/debug/statements?id=12345\">12345</a>") && html.contains("a &lt; b")
        );
    }
}
