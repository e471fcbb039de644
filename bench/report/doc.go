// Package report writes the results of a flood benchmark: result.json, a page
// with plots, tables on a terminal, and the comparison of two results. It
// measures nothing, and builds on all systems.
//
//	Result       all results; Read and Write are result.json
//	Ratios       the meaning of each ratio, and its goal
//	Table, HTML  for people
//	Compare      two results, ratio by ratio
//	Differences  whether a server's counters add up
package report
