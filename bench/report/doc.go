// Package report writes the results of a flood benchmark: result.json, a page for
// people, tables on a terminal, and the comparison of two results. It measures nothing,
// and builds on all systems.
//
//	Result             all results; Read and Write are result.json
//	Ratios             the meaning of each ratio, and its goal
//	Differences        whether a server's counters add up
//	Table, Compare     for a terminal
//	HTML, CompareHTML  the page of one result, or of two side by side
//	Plots              the pictures of the page as files
//
// The page is made from a view, which is one result or two:
//
//	findings.go, costs.go, reasons.go  the sentences at its head, computed from figures;
//	                                   a sentence without figures is left out
//	plots.go, marks.go, curve.go,      the pictures, drawn by package chart
//	goals.go
//	tables.go                          the figures that are folded away
//	report.html, report.css            the order and the form
//
// A page has no script and no external part. TestPagesFit looks at it in a browser.
package report
