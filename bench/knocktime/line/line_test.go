package line

import (
	"math"
	"testing"
	"time"

	"sallyport/verify/challenge"
)

const (
	ms   = time.Millisecond
	seed = 20051999
)

// TestModels: the models reorder as many packets, or bursts, as the papers found.
func TestModels(t *testing.T) {
	const bursts = 5000
	for _, row := range []struct {
		model           Model
		packets, bursts [2]float64 // from, to; of 20 packets
	}{
		{Undisturbed, [2]float64{0, 0}, [2]float64{0, 0}},
		{Paxson03, [2]float64{0.0025, 0.0035}, [2]float64{0.04, 0.07}},
		{Paxson2, [2]float64{0.018, 0.022}, [2]float64{0.27, 0.36}},
		{Bennett, [2]float64{0.1, 0.2}, [2]float64{0.9, 0.96}},
		{LongQueues, [2]float64{0.3, 0.5}, [2]float64{0.99, 1}},
	} {
		r := row.model.Reordering(Fast, 20, bursts, seed)
		t.Logf("%s: %.2f %% of packets, %.1f %% of bursts of 20, %.1f %% of 5", row.model.Name,
			100*r.Packets, 100*r.Bursts, 100*row.model.Reordering(Fast, 5, bursts, seed).Bursts)
		if r.Packets < row.packets[0] || r.Packets > row.packets[1] || r.Bursts < row.bursts[0] || r.Bursts > row.bursts[1] {
			t.Errorf("%s: %+v", row.model.Name, r)
		}
	}
}

// TestLine: a line sends one packet after the other, and delivers each after the delay.
func TestLine(t *testing.T) {
	p := NewPath(Slow, Undisturbed, seed, 0)
	for i, row := range []struct {
		at, began, arrival time.Duration
		bytes              int
	}{
		{10 * ms, 10 * ms, 63500 * time.Microsecond, 28},
		{10 * ms, 13500 * time.Microsecond, 67 * ms, 28},
		{100 * ms, 100 * ms, 159 * ms, 72},
	} {
		began, arrivals := p.Send(nil, row.at, row.bytes)
		if began != row.began || len(arrivals) != 1 || arrivals[0] != row.arrival {
			t.Errorf("packet %d: %v, %v", i, began, arrivals)
		}
	}
}

// TestLinksKeepTheirOrder: with one link nothing is reordered, however long it waits.
func TestLinksKeepTheirOrder(t *testing.T) {
	m := Model{Links: 1, Wait: time.Second}
	if r := m.Reordering(Fast, 50, 200, seed); r.Packets != 0 {
		t.Errorf("%+v", r)
	}
}

// TestSharesOfPackets: as many packets are lost and duplicated as the model has.
func TestSharesOfPackets(t *testing.T) {
	const packets = 100_000
	p := NewPath(Line{}, Model{Loss: 0.052, Duplicates: 0.01}, seed, 0)
	var lost, twice float64
	for range packets {
		switch _, a := p.Send(nil, 0, KnockBytes); len(a) {
		case 0:
			lost++
		case 2:
			twice++
		}
	}
	if math.Abs(lost/packets-0.052) > 0.003 || math.Abs(twice/packets-0.01*0.948) > 0.002 {
		t.Errorf("%v lost, %v twice", lost/packets, twice/packets)
	}
}

// TestSeed: the same seed has the same results, another one has others.
func TestSeed(t *testing.T) {
	of := func(seed uint64) (all []time.Duration) {
		p := NewPath(Fast, LongQueues, seed, 7)
		for range 20 {
			_, all = p.Send(all, 0, KnockBytes)
		}
		return all
	}
	equal := func(a, b []time.Duration) bool {
		for i := range a {
			if a[i] != b[i] {
				return false
			}
		}
		return true
	}
	if !equal(of(1), of(1)) || equal(of(1), of(2)) {
		t.Error("the numbers do not follow the seed")
	}
}

// TestPredictionsWithAFormula: where there is a formula, the predictions follow it.
func TestPredictionsWithAFormula(t *testing.T) {
	const exchanges = 5000
	e := NewExchange(challenge.Encoding{Scheme: challenge.Differences, DataBits: 8}, 14, 20)
	for _, row := range []struct {
		name string
		e    Exchange
		m    Model
		want float64
	}{
		{"nothing disturbs", e, Undisturbed, 0},
		{"any order", e, LongQueues, 0},
		{"each of 35 packets must arrive", e, Loss27, 1 - math.Pow(1-0.027, 35)},
		{
			"two packets, in the wrong order if the second waits less: half of exp(-delay / jitter), twice",
			Exchange{Scheme: challenge.Delays, DataBits: 16, Delay: ms, Request: 2, Response: 2},
			Jitter, 1 - math.Pow(1-math.Exp(-1)/2, 2),
		},
	} {
		got := row.e.Predict(Line{}, row.m, exchanges, seed)
		t.Logf("%s: %.4f, by the formula %.4f", row.name, got, row.want)
		if math.Abs(got-row.want) > 0.02 {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

// TestTime: by the paper's assumptions, but for delays that are counted from the
// sending of a packet and not from its end.
func TestTime(t *testing.T) {
	const request, response = 14, 20
	for _, row := range []struct {
		e    challenge.Encoding
		want time.Duration
	}{
		{challenge.Encoding{Scheme: challenge.Sequence, DataBits: 8, SequenceBits: 5}, 278 * ms},
		{challenge.Encoding{Scheme: challenge.Ranges, DataBits: 12}, 243 * ms},
		{challenge.Encoding{Scheme: challenge.Delays, DataBits: 8, Delay: 2 * ms}, 278 * ms},
		{challenge.Encoding{Scheme: challenge.Delays, DataBits: 8, Delay: 5 * ms}, (13+19)*5*ms + 2*3500*time.Microsecond + 159*ms},
	} {
		if got := NewExchange(row.e, request, response).Time(Slow); got != row.want {
			t.Errorf("%+v: %v, want %v", row.e, got, row.want)
		}
	}
}

// TestPredictionsFollowTheCodec: the rules here read the same arrivals as the codec of
// the server does, by every scheme and with restarts.
func TestPredictionsFollowTheCodec(t *testing.T) {
	const bytes = 30
	// No byte occurs twice: a packet that is read in another's place is always wrong.
	message := make([]byte, bytes)
	for i := range message {
		message[i] = byte(7*i + 1)
	}
	for _, encoding := range []challenge.Encoding{
		{Scheme: challenge.Sequence, DataBits: 8, SequenceBits: 5, Restart: 10},
		{Scheme: challenge.Sequence, DataBits: 8, SequenceBits: 5},
		{Scheme: challenge.Ranges, DataBits: 8, Restart: 3},
		{Scheme: challenge.Ranges, DataBits: 8, Restart: 5},
		{Scheme: challenge.Ranges, DataBits: 8, Restart: 20},
		{Scheme: challenge.Ranges, DataBits: 8},
		{Scheme: challenge.Differences, DataBits: 8, Restart: 10},
		{Scheme: challenge.Differences, DataBits: 8},
	} {
		encoding.Base = 1024
		codec, err := encoding.Codec(bytes)
		if err != nil {
			t.Fatal(err)
		}
		ports, err := codec.AppendPorts(nil, message)
		if err != nil {
			t.Fatal(err)
		}
		e := NewExchange(encoding, bytes, bytes)
		failed := 0
		for i := range uint64(500) {
			m := []Model{Bennett, LongQueues}[i%2]
			m.Duplicates, m.Loss = 0.02, 0.002
			read := e.reader(codec.Packets(), nil)
			var d challenge.Decoder
			d.Reset(codec)
			want, got := challenge.Incomplete, challenge.Incomplete
			for _, k := range e.knocks(NewPath(Fast, m, seed, i), 0, codec.Packets(), 0) {
				if want == challenge.Incomplete {
					want = read(k)
				}
				got = d.Add(ports[k.index], time.Time{}.Add(k.at))
			}
			// A packet that the codec reads in another's place is impossible, or spoils
			// the message.
			if got == challenge.Complete && string(d.AppendMessage(nil)) != string(message) {
				got = challenge.Impossible
			}
			if (got == challenge.Complete) != (want == challenge.Complete) {
				t.Fatalf("%+v, line %d: the codec has %s, the rule %s", encoding, i, got, want)
			}
			if want != challenge.Complete {
				failed++
			}
		}
		t.Logf("%s, restart %d: %d of 500 fail", encoding.Scheme, encoding.Restart, failed)
	}
}
