package metrics

import (
	"io"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"sallyport/cmd/sallyportd/internal/admin"
)

// Collector makes the metrics of a status. It implements prometheus.Collector.
type Collector struct {
	status   func() admin.Status
	registry *prometheus.Registry
}

// New returns a collector of what status returns at each request.
func New(status func() admin.Status) *Collector {
	c := &Collector{status: status, registry: prometheus.NewRegistry()}
	c.registry.MustRegister(c)
	return c
}

// Text writes all metrics in the text format of Prometheus.
func (c *Collector) Text(w io.Writer) error {
	all, err := c.registry.Gather()
	if err != nil {
		return err
	}
	for _, f := range all {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}

// Describe implements prometheus.Collector. It sends nothing: which services and queues
// there are is known only with the status.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	st := c.status()
	s := samples{to}
	s.server(st)
	s.counters(st.Counters)
	for _, service := range st.Services {
		s.service(service)
	}
	for _, q := range st.Queues {
		s.gauge(QueueDepth, "Entries of a queue: batches of up to 64 datagrams, knocks, or grants.", float64(q.Waiting), "queue", q.Name)
		if q.Room > 0 {
			s.gauge(QueueCapacity, "For how many entries a queue has room.", float64(q.Room), "queue", q.Name)
		}
	}
	s.latency(st.Latency)
}

// samples sends metrics. The labels are names and values in turn.
type samples struct{ to chan<- prometheus.Metric }

func (s samples) gauge(name, help string, value float64, labels ...string) {
	s.send(prometheus.GaugeValue, name, help, value, labels)
}

func (s samples) counter(name, help string, value uint64, labels ...string) {
	s.send(prometheus.CounterValue, name, help, float64(value), labels)
}

func (s samples) send(kind prometheus.ValueType, name, help string, value float64, labels []string) {
	var names, values []string
	for pair := range slices.Chunk(labels, 2) {
		names, values = append(names, pair[0]), append(values, pair[1])
	}
	s.to <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, values...)
}

// counters sends the counters of the log.
func (s samples) counters(all map[string]uint64) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f, value := familyOf(name)
		if f.label == "" {
			s.counter(f.name, f.help, all[name])
		} else {
			s.counter(f.name, f.help, all[name], f.label, value)
		}
	}
}

func (s samples) service(v admin.Service) {
	s.counter(Grants, "Grants that began or extended a lease.", v.Granted, "service", v.Name)
	s.gauge(Leases, "Leases now, also those that wait for a command.", float64(v.Leases), "service", v.Name)
	for _, reason := range slices.Sorted(maps.Keys(v.Ended)) {
		s.counter(LeasesEnded, "Leases that have ended, by reason.", v.Ended[reason], "service", v.Name, "reason", reason)
	}
	if v.Connections != nil {
		s.gauge(Connections, "TCP connections of clients that the server carries now.", float64(*v.Connections), "service", v.Name)
	}
	if v.Flows != nil {
		s.gauge(Flows, "UDP flows of clients that the server carries now.", float64(*v.Flows), "service", v.Name)
	}
	s.counter(BindFailures, "Attempts to bind the port of the service that failed.", v.Unbound, "service", v.Name)
	s.gauge(Waiting, "1: the service stays closed even for clients with a lease.", number(v.Waits != ""), "service", v.Name)
}

func (s samples) latency(l admin.Latency) {
	below := map[float64]uint64{}
	var count uint64
	for i, n := range l.Counts {
		if count += n; i < len(l.Bounds) {
			below[l.Bounds[i]] = count
		}
	}
	s.to <- prometheus.MustNewConstHistogram(
		prometheus.NewDesc(KnockSeconds, "From the last knock of a sequence until its services are open, or have failed to open.", nil, nil),
		count, l.Sum, below)
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
