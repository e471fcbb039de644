// Package report is what a flood benchmark tells, and how: result.json, a page
// with plots, tables on a terminal, and the comparison of two results. It
// measures nothing, and builds everywhere.
//
//	Result       all that was found; Read and Write are result.json
//	Ratios       what each ratio means, and what is to be reached
//	Table, HTML  for people
//	Compare      two results, ratio by ratio
//	Differences  whether a server's counters add up
package report
