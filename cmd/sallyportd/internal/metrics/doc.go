// Package metrics is the server's state for Prometheus: a collector over what package
// admin's status has, so that both report the same. It is the only package that knows the
// exporter.
//
//	admin.Status   what the server does now; making one takes no lock of the way of a knock
//	Collector      a Status -> metrics of Prometheus, at each request
//	Text           the collector's metrics in the text format
//
// names.go has all names. families.go has the counters of the log, and the metric of each: a
// counter that it lacks is a sample of Events, so that none is missing. No label
// is a client, an address or anything else that a stranger chooses; so the number of
// samples depends on the configuration only.
package metrics
