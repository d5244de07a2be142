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
}
