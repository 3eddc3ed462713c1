//! The API of a server, asked by a host of the lab.

use std::{io, net::SocketAddr};

use serde_json::{Value, json};

use crate::{
    http::{Answer, exchange},
    two_pops::TwoPops,
};

/// What separates the parts of a form.
const BOUNDARY: &str = "what-no-code-says";

pub(crate) struct Api<'a> {
    lab: &'a TwoPops,
    /// Who asks.
    host: &'static str,
    address: SocketAddr,
    token: String,
}

impl<'a> Api<'a> {
    pub(crate) fn of(lab: &'a TwoPops, host: &'static str, server: &str) -> Self {
        let address = lab.lab().plan().server(server).unwrap().api();
        Self { lab, host, address, token: lab.lab().token().unwrap() }
    }

    fn send(&self, method: &str, path: &str, (kind, body): (&str, &str)) -> io::Result<Answer> {
        let (token, length) = (&self.token, body.len());
        let request = format!(
            "{method} /client/v4{path} HTTP/1.1\r\nhost: api\r\nauthorization: Bearer {token}\r\n\
             content-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        self.lab.lab().within(self.host, || Ok(exchange(self.address, &request))).unwrap()
    }

    /// Status and body, if an answer came.
    pub(crate) fn try_ask(&self, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
        let answer = self.send(method, path, ("application/json", body))?;
        Ok((answer.status, answer.body))
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub(crate) fn result(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, answer) = self.ask(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        serde_json::from_str::<Value>(&answer).unwrap()["result"].take()
    }

    /// The path of the first account.
    pub(crate) fn account(&self) -> String {
        let accounts = self.result("GET", "/accounts", "");
        format!("/accounts/{}", accounts[0]["id"].as_str().unwrap())
    }

    /// Uploads a Worker of one module to an account, with more in its metadata; its path.
    pub(crate) fn upload(&self, account: &str, name: &str, code: &str, more: &Value) -> String {
        let mut metadata = json!({ "main_module": "main.js", "compatibility_date": "2026-11-01" });
        metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let part = |name: &str, more: &str, content: &str| {
            format!(
                "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"{more}\r\n\r\n{content}\r\n"
            )
        };
        let of_module = "; filename=\"main.js\"\r\ncontent-type: application/javascript+module";
        let (metadata, module) =
            (part("metadata", "", &metadata.to_string()), part("main.js", of_module, code));
        let form = format!("{metadata}{module}--{BOUNDARY}--\r\n");
        let path = format!("{account}/workers/scripts/{name}");
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let answer = self.send("PUT", &path, (&kind, &form)).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        path
    }

    /// Leads what a zone has below a path of its `www` to a Worker.
    pub(crate) fn route(&self, zone: &str, path: &str, worker: &str) {
        let zones = self.result("GET", &format!("/zones?name={zone}"), "");
        let routes = format!("/zones/{}/workers/routes", zones[0]["id"].as_str().unwrap());
        let route = json!({ "pattern": format!("www.{zone}{path}"), "script": worker });
        self.result("POST", &routes, &route.to_string());
    }
}
