// Package bench floods the shipped server, and measures how many honest knocks
// succeed during the flood.
//
//	Attributes  of a process that is alone in new namespaces; it calls:
//	Run         creates a network, starts the servers and the bare references,
//	            and plays the plan's windows, round by round, so that compared
//	            cases are measured one after the other
//	  network   two hosts and the link between them; which core receives
//	  traffic   the frames of a window: scenario's datagrams from many sources
//	  measure   a window: flood, settle, and the counters before and after
//	  results   windows by scenario, target and load -> report.Result
//
// The parts are separate packages: netns and clock (hosts, cores), flood
// (generators), scenario (the datagrams), target (the flooded programs), report
// (the results), browser (pages in a browser); faultfs and faultcall make the disk and the
// kernel fail, for tests. Linux only, except for scenario and report.
package bench
