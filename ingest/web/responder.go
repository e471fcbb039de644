package web

import (
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sallyport/verify/challenge/carrier"
)

// Sizes of messages over UDP (RFC 1035, RFC 6891, and the DNS Flag Day of 2020).
const (
	plainUDP = 512  // without EDNS
	maxUDP   = 1232 // with it

	headerSize = 12
)

// Outcome is what happened to a query. Each is one counter.
type Outcome uint8

// The outcomes.
const (
	Ignored   Outcome = iota // not a header, an answer, or too long even with the bit TC: no answer
	Limited                  // beyond the budget: no answer
	Slipped                  // beyond the budget: only the bit TC
	Malformed                // FORMERR, NOTIMP or BADVERS
	Refused                  // outside of the zone
	Apex                     // for the zone itself
	NoName                   // NXDOMAIN
	Challenge                // with a challenge, or the empty answer for another type
	Truncated                // the bit TC instead of one of the three above

	// NumOutcomes is the number of outcomes.
	NumOutcomes = int(Truncated) + 1
)

var outcomeNames = [NumOutcomes]string{
	"ignored", "limited", "slipped", "malformed", "refused", "apex", "no_name", "challenge", "truncated",
}

func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "unknown"
}

// responder answers queries. It is safe for concurrent use.
type responder struct {
	zone          zone
	receiver      receiver
	amplification int
	udp, tcp      budgets
	slips         *budget // of answers with the bit TC to queries beyond those over UDP
	slipShares    *shares // of the source of such a query
	outcomes      [NumOutcomes]atomic.Uint64
	parts         [carrier.NumReasons]atomic.Uint64 // labels below the zone, by result
}

// budgets are the answers of a second: those with a challenge apart. Over UDP and TCP
// they are apart, because only over UDP a flood can have any source.
type budgets struct{ strangers, challenges *budget }

func newBudgets(perSecond int) budgets { return budgets{newBudget(perSecond), newBudget(perSecond)} }

// Limits of the answers to queries beyond the budget.
const (
	slipFactor  = 4  // times as many in sum as other answers
	sourceSlips = 10 // a second, of an IPv4 address or a /64
)

// scratch is the memory of one goroutine that answers.
type scratch struct {
	source    netip.Addr // of the query, if it came over UDP
	query     query
	message   carrier.Message
	challenge [carrier.MaxChallenge]byte
}

// query is a parsed query.
type query struct {
	header   dnsmessage.Header
	question dnsmessage.Question
	asked    bool // it has a question
	edns     bool
	version  uint8
	size     int // that its sender can receive over UDP
	dnssec   bool
}

// reply is an answer before it is packed.
type reply struct {
	outcome   Outcome
	rcode     dnsmessage.RCode
	zone      bool   // authoritative
	soa, ns   bool   // the answer has these records
	authority bool   // the authority section has the SOA record
	challenge []byte // the answer has a TXT record
}

// answer appends the answer to a query, or returns dst as it is: there is none. It
// retains nothing of the message.
func (r *responder) answer(s *scratch, dst, message []byte, tcp bool, now time.Time) []byte {
	q := &s.query
	rcode, ok := q.parse(message)
	if !ok {
		r.outcomes[Ignored].Add(1)
		return dst
	}
	a := reply{outcome: Malformed, rcode: rcode}
	if rcode == dnsmessage.RCodeSuccess {
		a = r.decide(s, now)
	}
	budgets := r.udp
	if tcp {
		budgets = r.tcp
	}
	limit := budgets.strangers
	if a.outcome == Challenge {
		limit = budgets.challenges
	}
	if !limit.take(now) {
		if a.zone && !tcp {
			if packed, ok := r.slip(s, dst, message, a, now); ok {
				r.outcomes[Slipped].Add(1)
				return packed
			}
		}
		r.outcomes[Limited].Add(1)
		return dst
	}
	packed, err := r.pack(dst, q, a)
	if err == nil && !tcp {
		most := min(len(message)*r.amplification, q.size)
		if len(packed)-len(dst) > most {
			a = reply{outcome: Truncated, rcode: a.rcode, zone: a.zone}
			packed, err = r.pack(dst, q, a)
		}
		if len(packed)-len(dst) > most {
			a.outcome = Ignored // a compressed question, which grows in the answer
			packed = dst
		}
	}
	if err != nil {
		a.outcome, packed = Ignored, dst
	}
	r.outcomes[a.outcome].Add(1)
	return packed
}

// slip appends the answer to a query over UDP beyond the budget: the question alone and
// the bit TC, so that a resolver asks over TCP, where a flood of forged sources does not
// come. It is not longer than the query, and a source gets few: to forge one is of no use.
func (r *responder) slip(s *scratch, dst, message []byte, a reply, now time.Time) ([]byte, bool) {
	if !r.slipShares.take(s.source, now) || !r.slips.take(now) {
		return dst, false
	}
	packed, err := r.pack(dst, &s.query, reply{outcome: Truncated, rcode: a.rcode, zone: true})
	if err != nil || len(packed)-len(dst) > len(message) {
		return dst, false
	}
	return packed, true
}

// parse parses a query. It is not ok if it gets no answer. Any code except RCodeSuccess
// is the answer.
func (q *query) parse(message []byte) (rcode dnsmessage.RCode, ok bool) {
	*q = query{size: plainUDP}
	if len(message) < headerSize {
		return 0, false
	}
	var p dnsmessage.Parser
	var err error
	if q.header, err = p.Start(message); err != nil || q.header.Response {
		return 0, false
	}
	if q.header.OpCode != 0 {
		return dnsmessage.RCodeNotImplemented, true
	}
	q.question, err = p.Question()
	if err != nil {
		return dnsmessage.RCodeFormatError, true
	}
	if err := p.SkipQuestion(); err != dnsmessage.ErrSectionDone {
		return dnsmessage.RCodeFormatError, true
	}
	q.asked = true
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return dnsmessage.RCodeFormatError, true
	}
	for {
		h, err := p.AdditionalHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		isOPT := err == nil && h.Type == dnsmessage.TypeOPT
		if err != nil || p.SkipAdditional() != nil || isOPT && (q.edns || h.Name.Length != 1) {
			return dnsmessage.RCodeFormatError, true
		}
		if isOPT {
			q.edns, q.version, q.dnssec = true, uint8(h.TTL>>16), h.TTL&dnssecOK != 0
			q.size = min(max(int(h.Class), plainUDP), maxUDP)
		}
	}
	if q.version != 0 {
		return badVersion, true
	}
	return dnsmessage.RCodeSuccess, true
}

// dnssecOK is the bit DO of an OPT record (RFC 3225). An answer copies it.
const dnssecOK = 1 << 15

// badVersion is BADVERS (RFC 6891). Its upper bits stand in the OPT record.
const badVersion dnsmessage.RCode = 16

// Types that ask for a whole zone (RFC 1995).
const typeIXFR dnsmessage.Type = 251

// decide takes the part that a query carries, and decides on the answer.
func (r *responder) decide(s *scratch, now time.Time) reply {
	q, m := &s.query, &s.message
	name := q.question.Name.Data[:q.question.Name.Length]
	labels, in := r.zone.cut(name)
	kind := q.question.Type
	if !in || q.question.Class != dnsmessage.ClassINET || kind == dnsmessage.TypeAXFR || kind == typeIXFR {
		return reply{outcome: Refused, rcode: dnsmessage.RCodeRefused}
	}
	if len(labels) == 0 {
		a := reply{outcome: Apex, zone: true}
		a.soa = kind == dnsmessage.TypeSOA || kind == dnsmessage.TypeALL
		a.ns = kind == dnsmessage.TypeNS
		a.authority = !a.soa && !a.ns
		return a
	}
	reason := m.ParseLabel(labels) // which has no dot
	r.parts[reason].Add(1)
	if reason == carrier.Accepted {
		// The address of a resolver is not that of a client.
		if challenge, ok := r.receiver.take(s.challenge[:0], m, netip.Addr{}, now); ok {
			a := reply{outcome: Challenge, zone: true}
			if kind == dnsmessage.TypeTXT || kind == dnsmessage.TypeALL {
				a.challenge = challenge
			} else {
				a.authority = true
			}
			return a
		}
	}
	return reply{outcome: NoName, rcode: dnsmessage.RCodeNameError, zone: true, authority: true}
}

// pack appends an answer.
func (r *responder) pack(dst []byte, q *query, a reply) ([]byte, error) {
	b := dnsmessage.NewBuilder(dst, dnsmessage.Header{
		ID: q.header.ID, Response: true, OpCode: q.header.OpCode, Authoritative: a.zone,
		Truncated: a.outcome == Truncated, RecursionDesired: q.header.RecursionDesired, RCode: a.rcode & 15,
	})
	b.EnableCompression()
	err := b.StartQuestions()
	if err == nil && q.asked {
		err = b.Question(q.question)
	}
	if err == nil {
		err = r.records(&b, q, a)
	}
	if err == nil && q.edns {
		var h dnsmessage.ResourceHeader
		if err = b.StartAdditionals(); err == nil {
			h.SetEDNS0(maxUDP, a.rcode, q.dnssec)
			err = b.OPTResource(h, dnsmessage.OPTResource{})
		}
	}
	if err != nil {
		return dst, err
	}
	return b.Finish()
}

// records appends the records of the answer and authority sections.
func (r *responder) records(b *dnsmessage.Builder, q *query, a reply) error {
	header := func(name []byte, ttl uint32) (h dnsmessage.ResourceHeader) {
		h.Class, h.TTL, h.Name.Length = dnsmessage.ClassINET, ttl, uint8(len(name))
		copy(h.Name.Data[:], name)
		return h
	}
	name := q.question.Name.Data[:q.question.Name.Length]
	if err := b.StartAnswers(); err != nil {
		return err
	}
	if a.challenge != nil {
		text := string(carrier.AppendText(nil, a.challenge))
		if err := b.TXTResource(header(name, 0), dnsmessage.TXTResource{TXT: []string{text}}); err != nil {
			return err
		}
	}
	if !a.soa && !a.ns && !a.authority {
		return nil
	}
	apex := name[len(name)-len(r.zone.name):]
	soa := r.zone.soa
	soa.NS, soa.MBox = likeQuestion(soa.NS, apex), likeQuestion(soa.MBox, apex)
	if a.soa {
		return b.SOAResource(header(apex, recordTTL), soa)
	}
	if a.ns {
		for _, s := range r.zone.servers {
			s.NS = likeQuestion(s.NS, apex)
			if err := b.NSResource(header(apex, recordTTL), s); err != nil {
				return err
			}
		}
		return nil
	}
	if err := b.StartAuthorities(); err != nil {
		return err
	}
	return b.SOAResource(header(apex, minimumTTL), soa)
}

// likeQuestion returns a name whose end has the case of the question, as far as the two
// are the same, so that the end can point to the question.
func likeQuestion(n dnsmessage.Name, question []byte) dnsmessage.Name {
	i, j := int(n.Length), len(question)
	for i > 0 && j > 0 && lower(n.Data[i-1]) == lower(question[j-1]) {
		i, j = i-1, j-1
		n.Data[i] = question[j]
	}
	return n
}
