package fleet

import (
	"fmt"
	"io"
)

// The fleet for which the requests are calculated: that of FLEET.md.
const (
	scaleGateways = 100
	scaleAttempts = 2800 // a second
)

// scaled is a row of the calculation: a second, for all gateways.
type scaled struct {
	what  string
	value float64
}

// rows returns what scaleGateways would ask of etcd, by the costs of attempts that came one
// after the other: at 28 a second, few come together.
func (r Result) rows() (rows []scaled) {
	add := func(what string, value float64) { rows = append(rows, scaled{what, value}) }
	for _, all := range []bool{false, true} {
		var o Opening // with the most gateways
		for _, x := range r.Openings {
			if x.All == all && x.Gateways > o.Gateways {
				o = x
			}
		}
		if o.Gateways == 0 {
			continue
		}
		name := `spread = "local": `
		if all {
			name = `spread = "all": `
		}
		each := scaleAttempts * scaleGateways / float64(o.Gateways)
		add(name+"transactions", scaleAttempts*o.Cost.Transactions)
		add(name+"reads", scaleAttempts*o.Cost.Reads)
		add(name+"writes of keys", scaleAttempts*o.Cost.Writes)
		add(name+"events", each*o.Cost.Events)
		add(name+"MB to gateways", each*o.Cost.Sent/1e6)
	}
	if c := r.Idle; c != nil {
		add("idle: writes", scaleGateways*c.Writes)
		add("idle: renewals of leases", scaleGateways*c.Renewals)
		add("idle: reads", scaleGateways*c.Reads)
	}
	return rows
}

func (r Result) scale(t io.Writer) {
	rows := r.rows()
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(t, "\n%d gateways, %d attempts a second\ta second\n", scaleGateways, scaleAttempts)
	for _, row := range rows {
		fmt.Fprintf(t, "%s\t%.0f\n", row.what, row.value)
	}
}
