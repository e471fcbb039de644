package report

import (
	"cmp"
	"slices"
	"strings"

	"sallyport/bench/report/chart"
)

// view is the content of a page: one result, or two to compare, the earlier one first.
type view []Result

// latest is the result that the sentences of the page are about.
func (v view) latest() Result { return v[len(v)-1] }

// references are the targets that are not servers.
var references = []string{"sink", "reject-all", "drop-all", "ring-sink"}

// configuration returns the configuration of a row. Earlier results do not name it.
func (r Row) configuration() string {
	switch {
	case r.Configuration != "":
		return r.Configuration
	case slices.Contains(references, r.Target):
		return ""
	case r.Unfiltered:
		return Socket
	default:
		return Filter
	}
}

// configurations are the names and styles of configurations, in the order of the report.
var configurations = []struct {
	key   string
	name  string // in pictures
	long  string // in sentences, after "with"
	style chart.Style
}{
	{Socket, "socket", "a plain socket", chart.Socket},
	{Filter, "filter", "the socket's filter", chart.Filter},
	{XDP, "shield", "the shield", chart.Shield},
	{"", "reference", "", chart.Reference},
}

func orderOf(configuration string) int {
	for i, c := range configurations {
		if c.key == configuration {
			return i
		}
	}
	return len(configurations) - 1
}

func styleOf(configuration string) chart.Style { return configurations[orderOf(configuration)].style }

// usual are the targets whose rows need no more than the name of the configuration.
var usual = []string{"shipped", "no-filter", "shield", "three-knocks", "three-knocks-no-filter"}

// name returns the short name of a row's target for pictures.
func (r Row) name() string {
	if r.configuration() != "" && slices.Contains(usual, r.Target) {
		return configurations[orderOf(r.configuration())].name
	}
	return plain(r.Target)
}

func plain(key string) string { return strings.ReplaceAll(key, "-", " ") }

// flood returns the name of a row's flood for pictures.
func (r Row) flood() string {
	if name := floods[r.Scenario]; name != "" {
		return name
	}
	return plain(r.Scenario)
}

// floods are the names of floods whose keys are too short for a stranger.
var floods = map[string]string{
	"named": "sniffed, one client", "named-alone": "named client, spoofed", "named-one-network": "named client, one network",
	"nothing": "no flood", "closed": "closed ports", "stale": "stale timestamp", "unknown": "unknown identifier",
	"bad-mac": "bad HMAC", "one-client": "in one client's name", "replay": "replays", "sniffed": "sniffed identifier",
}

const usualLoad = "highest"

// load returns the load for pictures, or "" for the usual one.
func (r Row) load() string {
	if r.Load == usualLoad || r.Scenario == "nothing" {
		return ""
	}
	return r.Load
}

// ofCurve reports whether a row is a point of a curve, which pictures do not repeat.
func (r Row) ofCurve() bool {
	return strings.HasSuffix(r.Load, " M/s") && !strings.HasPrefix(r.Scenario, "named-")
}

// versions are the same row in each result of a view; one that a result lacks is nil.
type versions []*Row

func (v versions) any() Row {
	for _, r := range slices.Backward(v) {
		if r != nil {
			return *r
		}
	}
	return Row{}
}

// rows returns the chosen rows of all results: the highest loads first, rows of the same
// flood and load together, and in these the configurations in order.
func (v view) rows(choose func(Row) bool) (all []versions) {
	index := map[string]int{}
	groups := map[string]int{}
	for i, res := range v {
		for _, r := range res.Rows {
			key := r.key()
			if at, ok := index[key]; !choose(r) || ok && all[at][i] != nil {
				continue // the second row of a flood that was sent with honest knocks and without
			}
			if _, ok := index[key]; !ok {
				index[key] = len(all)
				all = append(all, make(versions, len(v)))
			}
			all[index[key]][i] = &r
			if group := r.flood() + r.load(); groups[group] == 0 {
				groups[group] = len(groups) + 1
			}
		}
	}
	slices.SortStableFunc(all, func(x, y versions) int {
		a, b := x.any(), y.any()
		return cmp.Or(
			cmp.Compare(loadOrder(a.Load), loadOrder(b.Load)),
			cmp.Compare(groups[a.flood()+a.load()], groups[b.flood()+b.load()]),
			cmp.Compare(orderOf(a.configuration()), orderOf(b.configuration())),
		)
	})
	return all
}

// loadOrder puts the loads of which one learns most first.
func loadOrder(load string) int {
	switch load {
	case usualLoad, ownLoad:
		return 0
	case "idle":
		return 2
	case "light":
		return 3
	default:
		return 1
	}
}
