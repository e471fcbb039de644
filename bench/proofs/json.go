package proofs

import "encoding/json"

// MarshalJSON implements json.Marshaler. Later versions may add fields.
func (r Result) MarshalJSON() ([]byte, error) {
	type row struct {
		Name      string `json:"name"`
		State     string `json:"state"`
		Unit      string `json:"unit"` // of which figures count a second
		Pairs     int    `json:"pairs"`
		Discarded int    `json:"pairs_discarded"`
		Plain     Spread `json:"plain_per_s"`
		Proving   Spread `json:"proving_per_s"`
		Ratio     Spread `json:"ratio"`
		// The server's processor time: for a connection in microseconds, for a byte in
		// nanoseconds.
		PlainEach   Spread `json:"plain_each"`
		ProvingEach Spread `json:"proving_each"`
		More        Spread `json:"more_each"`
		Goal        string `json:"goal,omitempty"`
	}
	rows := make([]row, len(r.Rows))
	for i, from := range r.Rows {
		unit := "connections"
		if from.Bytes {
			unit = "bytes"
		}
		rows[i] = row{
			Name: from.Name, State: from.State, Unit: unit, Pairs: len(from.Pairs), Discarded: from.Discarded,
			Plain: from.plain(), Proving: from.proving(), Ratio: from.ratio(),
			PlainEach: from.plainEach(), ProvingEach: from.provingEach(), More: from.more(), Goal: from.verdict(),
		}
	}
	return json.Marshal(struct {
		Rows []row `json:"rows"`
	}{rows})
}
