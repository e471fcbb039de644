// Package webtest runs programs of other projects, before or behind which tests put a
// server: any that listens (Run), and web servers with the recipes of the directory
// container (Nginx, Caddy). A program ends with its test.
package webtest
