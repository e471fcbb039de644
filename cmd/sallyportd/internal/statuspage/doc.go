// Package statuspage writes what a server does as one HTML page, for people who would
// rather look than read. It needs no other file, no script and no network: its policy
// (Content-Security-Policy) forbids all of them, also to a text of an attacker on it.
//
//	Input    what the page shows: texts and tables of the command, History, leases
//	hour     History -> a bar for each of the last 60 minutes, by reason
//	leases   leases in force, and those that ended -> bars on a line of two hours
//	Write    Input -> the page: page.templ, which go generate makes into page_templ.go
package statuspage
