package client

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"math/big"
	"time"

	"sallyport/verify/challenge/exchange"
)

// An attempt answers one challenge. If the client answered several, the answers to all
// but one would be packets of a wrong response, with which the server ends the exchange.
//
// The first challenge counts, until it was the wrong one: the service did not open,
// and another challenge of the same request came. With Algorithm 1, anyone who sends
// from the server's address can forge a challenge. From then on, an attempt waits for
// all challenges, and draws one: a forger who is faster than the server does not lock
// the client out.
const (
	drawTime      = time.Second // how long an attempt waits for other challenges
	maxChallenges = 32          // how many challenges it draws from, at most
)

// awaitChallenge waits for the challenge, and returns the answer to it.
func (s *exchangeConn) awaitChallenge(
	c *exchange.Initiator, timeout time.Duration, random io.Reader, found *exchangeFindings,
) (exchange.Answer, error) {
	first, err := s.nextChallenge(c, time.Now().Add(timeout), found)
	if err != nil || !found.contradicted {
		return first, err
	}
	all := s.moreChallenges(c, time.Now().Add(drawTime), []exchange.Answer{first}, found)
	i, err := rand.Int(random, big.NewInt(int64(len(all))))
	if err != nil {
		return exchange.Answer{}, fmt.Errorf("draw a challenge: %w", err)
	}
	return all[i.Int64()], nil
}

// moreChallenges appends the answers to different challenges that come until a time.
func (s *exchangeConn) moreChallenges(
	c *exchange.Initiator, end time.Time, all []exchange.Answer, found *exchangeFindings,
) []exchange.Answer {
next:
	for len(all) < maxChallenges {
		a, err := s.nextChallenge(c, end, found)
		if err != nil {
			break
		}
		for _, known := range all {
			if bytes.Equal(a.Response, known.Response) && bytes.Equal(a.ToSign, known.ToSign) {
				continue next // the network has sent it twice
			}
		}
		all = append(all, a)
	}
	return all
}

// checkAnswered looks for another challenge than the answered one, after the service
// did not open.
func (s *exchangeConn) checkAnswered(c *exchange.Initiator, answered exchange.Answer, found *exchangeFindings) {
	all := s.moreChallenges(c, time.Now().Add(queueTime), []exchange.Answer{answered}, found)
	found.contradicted = found.contradicted || len(all) > 1
}
