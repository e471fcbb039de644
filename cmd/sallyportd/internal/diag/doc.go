// Package diag makes the archive of "sallyportd diag", for a bug report.
//
//	Part      a file of the archive, or why it is missing; the command collects them
//	Scrubber  learns secrets, names and texts that must not be in the archive
//	Write     parts -> Scrubber.Scrub -> tar, gzip
//
// Secrets are kept out twice. No part reads one: the configuration is redacted by its
// structure (config.Redact), and no other file with secrets is a part. And Scrub replaces
// secrets that are in a text nevertheless, such as one that was pasted into a wrong place,
// from where an error quotes it. Names of clients and operations, and addresses that are
// routed in the Internet, become pseudonyms, the same in all parts of an archive.
//
// Host and Rules read the kernel and our table of nftables.
package diag
