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
		// Of connections: the server's processor time for each, in microseconds.
		PlainEach   *Spread `json:"plain_us,omitempty"`
		ProvingEach *Spread `json:"proving_us,omitempty"`
		More        *Spread `json:"more_us,omitempty"`
		Goal        string  `json:"goal,omitempty"`
	}
	rows := make([]row, len(r.Rows))
	for i, from := range r.Rows {
		of := row{
			Name: from.Name, State: from.State, Unit: "connections", Pairs: len(from.Pairs), Discarded: from.Discarded,
			Plain: from.plain(), Proving: from.proving(), Ratio: from.ratio(), Goal: from.verdict(),
		}
		if from.Bytes {
			of.Unit = "bytes"
		} else {
			plain, proving, more := from.plainEach(), from.provingEach(), from.more()
			of.PlainEach, of.ProvingEach, of.More = &plain, &proving, &more
		}
		rows[i] = of
	}
	return json.Marshal(struct {
		Rows []row `json:"rows"`
	}{rows})
}
