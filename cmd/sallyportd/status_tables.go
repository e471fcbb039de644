package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"sallyport/cmd/internal/output"
	"sallyport/cmd/sallyportd/internal/admin"
)

// statusServices returns the table of services.
func statusServices(st admin.Status) [][]output.Cell {
	rows := [][]output.Cell{output.Header("SERVICE", "TYPE", "LEASES", "CONNECTIONS", "FLOWS", "GRANTS", "STATE")}
	for _, s := range st.Services {
		state, colour := "closed", output.Plain
		i := slices.IndexFunc(st.Trial, func(t admin.Trial) bool { return t.Service == s.Name })
		switch {
		case i >= 0 && st.Trial[i].Until == nil:
			state, colour = "open to anyone", output.Red
		case s.Waits != "":
			state, colour = "waits: "+s.Waits, output.Yellow
		case s.Leases > 0:
			state, colour = "open", output.Green
		}
		row := output.Row(s.Name, s.Type, strconv.Itoa(s.Leases), numberOrDash(s.Connections), numberOrDash(s.Flows), strconv.FormatUint(s.Granted, 10), state)
		row[len(row)-1].Colour = colour
		rows = append(rows, row)
	}
	return rows
}

func numberOrDash(n *int) string {
	if n == nil {
		return "-"
	}
	return strconv.Itoa(*n)
}

// statusRefusals returns the table of refusals, the most frequent first.
func statusRefusals(st admin.Status) [][]output.Cell {
	refused := slices.DeleteFunc(slices.Clone(st.Refusals), func(r admin.Refusal) bool { return r.Total == 0 })
	slices.SortStableFunc(refused, func(a, b admin.Refusal) int {
		switch {
		case a.Total > b.Total:
			return -1
		case a.Total < b.Total:
			return 1
		}
		return 0
	})
	rows := [][]output.Cell{output.Header("REFUSED", "TOTAL", "A SECOND")}
	for _, r := range refused {
		rows = append(rows, output.Row(r.Reason, strconv.FormatUint(r.Total, 10), rateText(r.Rate)))
	}
	return rows
}

func rateText(rate float64) string {
	if rate == 0 {
		return "0"
	}
	if rate < 10 {
		return strconv.FormatFloat(rate, 'f', 2, 64)
	}
	return strconv.FormatFloat(rate, 'f', 0, 64)
}

// statusQueues returns the table of queues.
func statusQueues(st admin.Status) [][]output.Cell {
	rows := [][]output.Cell{output.Header("QUEUE", "WAITING", "ROOM")}
	for _, q := range st.Queues {
		room := "-"
		if q.Room > 0 {
			room = strconv.Itoa(q.Room)
		}
		rows = append(rows, output.Row(q.Name, strconv.Itoa(q.Waiting), room))
	}
	return rows
}

// latencyText describes the histogram by two of its bounds.
func latencyText(l admin.Latency) string {
	var all uint64
	for _, n := range l.Counts {
		all += n
	}
	if all == 0 {
		return "nothing opened yet"
	}
	return fmt.Sprintf("%s: half %s, 99 of 100 %s", plural(int(all), "sequence", "sequences"), within(l, (all+1)/2), within(l, all-all/100))
}

// within returns the bound below which so many grants took.
func within(l admin.Latency, wanted uint64) string {
	var below uint64
	for i, n := range l.Counts {
		if below += n; below < wanted {
			continue
		}
		if i < len(l.Bounds) {
			return "within " + time.Duration(l.Bounds[i]*float64(time.Second)).String()
		}
	}
	return "later"
}
