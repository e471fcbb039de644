package client

import "context"

// reserveProof reserves the nonce of a connection: above those that have opened the
// service, if opened is not 0; else the next one, or, if the server has rejected an odd
// number of proofs, the one after other, since the server may have the nonces of either.
func (f NonceFile) reserveProof(ctx context.Context, client string, opened uint64, rejected int) (nonce uint32, err error) {
	err = f.update(ctx, func(r *nonceRecord) error {
		ok := false
		if nonce, ok = r.proof(opened, rejected%2 == 1); !ok {
			return &ExhaustedError{Client: client}
		}
		return nil
	})
	return nonce, err
}

// proof reserves the nonce of a connection. Other: from other, if there is one. Ok: there
// is a nonce.
func (r *nonceRecord) proof(opened uint64, other bool) (nonce uint32, ok bool) {
	if opened == 0 {
		return r.more(other, 1)
	}
	return r.take(opened, 1)
}
