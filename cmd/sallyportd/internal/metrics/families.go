package metrics

import (
	"strings"

	"sallyport/verify"
)

// family is a metric of which one or several counters of the log are samples.
type family struct {
	name, help string
	label      string // its value is the name of the counter without the prefix; empty: none
	prefix     string // of the counters; or, without a label, the counter itself
	// fine are the samples that are no refusals; nil: none is a refusal.
	fine string
}

// families are the metrics of counters. The first whose prefix a counter has is its own.
var families = []family{
	{name: KernelDrops, help: "Datagrams that the kernel did not queue: refused by the socket filter, or the queue was full.", prefix: "kernel"},
	{name: Received, help: "Datagrams that the server has read.", prefix: "received"},
	{name: Overrun, help: "Datagrams that were dropped because the queue before the checks was full.", prefix: "overrun"},
	{name: PortFailures, help: "Attempts to open a knock port that failed.", prefix: "port_failures"},
	{name: StateFailures, help: "Attempts to write the state file that failed.", prefix: "state_failures"},
	{name: LogDropped, help: "Log lines that were dropped.", prefix: "log_dropped"},
	{name: LogLeftOut, help: "Log lines that were left out, so that the log stays below 10 lines a second.", prefix: "log_left_out"},
	{name: OutputDropped, help: "Lines of the output of programs that were dropped.", prefix: "program_output_dropped"},
	{name: SocketFilter, help: "Datagrams that the kernel did not queue, by cause; either: one of the other two.", prefix: "socket_filter_", label: "cause", fine: " "},
	{name: Shield, help: "Frames at the network driver, by what the shield did with them.", prefix: "shield_", label: "result", fine: " other empty flow socket ring "},
	{name: SelfTest, help: "Tests in which the server knocks at itself, by result.", prefix: "self_test_", label: "result", fine: " passed missed excused "},
	{name: Knocks, help: "Authenticated knocks, by outcome.", prefix: "session_", label: "outcome", fine: " recorded opened closed "},
	{name: Proofs, help: "Connections to services that require a proof, by outcome.", prefix: "connection_", label: "outcome", fine: " passed closed "},
	{name: Fleet, help: "Events of the record and the list that the gateways share, by kind; list_applied: lists that took effect.", prefix: "fleet_", label: "kind", fine: " gaps list_applied "},
	{name: Shared, help: "Grants that the gateways share, by outcome.", prefix: "grant_", label: "outcome", fine: " sent opened closed revoked mixed ended superseded "},
	{name: Split, help: "Parts of sequences that are split over gateways, by outcome.", prefix: "split_", label: "outcome", fine: " published completed ended "},
	{name: Exchanges, help: "Packets and messages of the challenge-response protocol, by outcome.", prefix: "exchange_", label: "outcome", fine: " packets accepted answered verified elsewhere evicted request_incomplete response_incomplete "},
	{name: Relay, help: "Packets of exchanges between gateways, by result.", prefix: "relay_", label: "result", fine: " sent received "},
	{name: Operations, help: "Verified exchanges that opened nothing, by reason.", prefix: "operation_", label: "reason", fine: " superseded "},
	{name: Carried, help: "Messages of exchanges over HTTP and DNS, by result.", prefix: "carried_", label: "result", fine: " answered repeated verified evicted expired "},
	{name: HTTP, help: "Requests to the listeners for exchanges over HTTP, by what they were; requests: all.", prefix: "http_", label: "kind", fine: " requests parts other challenges tunnels "},
	{name: DNS, help: "Queries to the listener for exchanges over DNS, by result; parts: of those that carry a message.", prefix: "dns_", label: "result", fine: " apex no_name challenge truncated parts other replaced slipped "},
}

// checked and events are the families of counters without a prefix: of the verifier's
// reasons, and of all others.
var (
	checked = family{name: Checked, help: "Datagrams that the server has checked, by result.", label: "result", fine: " " + verify.Authentic.String() + " "}
	events  = family{name: Events, help: "Events without a separate metric, by kind.", label: "kind"}
)

// reasons are the names of the verifier's results.
var reasons = func() map[string]bool {
	all := map[string]bool{}
	for r := range verify.NumReasons {
		all[verify.Reason(r).String()] = true
	}
	return all
}()

// familyOf returns the metric of a counter, and the value of its label.
func familyOf(counter string) (f family, value string) {
	for _, f := range families {
		if f.label == "" && counter == f.prefix {
			return f, ""
		}
		if rest, has := strings.CutPrefix(counter, f.prefix); has && f.label != "" {
			return f, rest
		}
	}
	if reasons[counter] {
		return checked, counter
	}
	return events, counter
}

// Refuses reports whether a counter counts datagrams, knocks, connections or others that
// were refused.
func Refuses(counter string) bool {
	f, value := familyOf(counter)
	return counter == "overrun" || f.fine != "" && !strings.Contains(f.fine, " "+value+" ")
}
