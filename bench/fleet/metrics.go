package fleet

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// metrics are those of one member that count, since its start.
type metrics struct {
	Cost
	database float64 // its size, now
}

// readMetrics reads the page of a member's metrics.
func readMetrics(page io.Reader) (m metrics, err error) {
	lines := bufio.NewScanner(page)
	found := map[string]bool{}
	for lines.Scan() {
		name, text, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		name, labels, _ := strings.Cut(name, "{")
		count := m.counter(name, labels)
		if count == nil {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return m, fmt.Errorf("read the metrics of etcd: %w", err)
		}
		*count += value
		found[name] = true
	}
	if err := lines.Err(); err != nil {
		return m, fmt.Errorf("read the metrics of etcd: %w", err)
	}
	for _, name := range []string{requestsMetric, putsMetric, eventsMetric, sentMetric, receivedMetric} {
		if !found[name] {
			return m, fmt.Errorf("read the metrics of etcd: this release has no %s", name)
		}
	}
	return m, nil
}

const (
	requestsMetric = "grpc_server_handled_total"
	putsMetric     = "etcd_mvcc_put_total"
	eventsMetric   = "etcd_debugging_mvcc_events_total"
	sentMetric     = "etcd_network_client_grpc_sent_bytes_total"
	receivedMetric = "etcd_network_client_grpc_received_bytes_total"
	databaseMetric = "etcd_mvcc_db_total_size_in_bytes"
)

// counter returns the field of a metric; nil: none.
func (m *metrics) counter(name, labels string) *float64 {
	switch name {
	case putsMetric:
		return &m.Writes
	case eventsMetric:
		return &m.Events
	case sentMetric:
		return &m.Sent
	case receivedMetric:
		return &m.Received
	case databaseMetric:
		return &m.database
	case requestsMetric:
		for method, count := range map[string]*float64{
			"Txn": &m.Transactions, "Range": &m.Reads, "LeaseGrant": &m.Leases, "LeaseKeepAlive": &m.Renewals,
		} {
			if strings.Contains(labels, `grpc_method="`+method+`"`) {
				return count
			}
		}
	}
	return nil
}

// combine returns what all members did. Each member carries out each write.
func combine(all []metrics) (c Cost) {
	for _, m := range all {
		c = c.plus(m.Cost, 1)
	}
	if len(all) > 0 {
		c.Writes /= float64(len(all))
	}
	return c
}

// plus returns the sum of c and so many times another.
func (c Cost) plus(other Cost, times float64) Cost {
	return Cost{
		c.Transactions + times*other.Transactions, c.Reads + times*other.Reads, c.Leases + times*other.Leases,
		c.Renewals + times*other.Renewals, c.Writes + times*other.Writes, c.Events + times*other.Events,
		c.Sent + times*other.Sent, c.Received + times*other.Received,
	}
}

// over returns each part divided by n.
func (c Cost) over(n float64) Cost { return Cost{}.plus(c, 1/max(n, 1e-9)) }

// positive replaces negative parts by 0: the part of idle gateways is an estimate.
func (c Cost) positive() Cost {
	for _, part := range []*float64{
		&c.Transactions, &c.Reads, &c.Leases, &c.Renewals, &c.Writes, &c.Events, &c.Sent, &c.Received,
	} {
		*part = max(*part, 0)
	}
	return c
}
