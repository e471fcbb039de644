// Package bench floods the shipped server and measures what becomes of those
// who knock honestly meanwhile.
//
//	Attributes  of a process that is alone in namespaces of its own; there:
//	Run         makes a network, starts the servers and the bare references,
//	            and plays the plan's windows, round by round, so that what is
//	            compared is measured side by side
//	  world     two hosts and the link between them; who pays for what
//	  aimed     the frames of a window: scenario's datagrams from many sources
//	  measure   a window: flood, settle, and the books before and after
//	  books     windows by scenario, target and load -> report.Result
//
// The parts are packages of their own: netns and clock (hosts, cores), flood
// (generators), scenario (what comes), target (who is flooded), report (what
// is told of it). Linux only, but for scenario and report.
package bench
