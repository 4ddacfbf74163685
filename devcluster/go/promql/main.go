// Command promql reads a JSON list of PromQL expressions and prints what Prometheus' own parser makes of each: its error,
// or the series that it selects and the labels that it groups or joins by.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/prometheus/prometheus/promql/parser"
)

type matcher struct {
	Label string `json:"label"`
	Type  string `json:"type"`
	Value string `json:"value"`
}

type answer struct {
	Error     string      `json:"error"`
	Type      string      `json:"type"`
	Selectors [][]matcher `json:"selectors"`
	Labels    []string    `json:"labels"`
}

func main() {
	var expressions []string
	if err := json.NewDecoder(os.Stdin).Decode(&expressions); err != nil {
		log.Fatal(err)
	}
	answers := make([]answer, 0, len(expressions))
	for _, expression := range expressions {
		answers = append(answers, read(expression))
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		log.Fatal(err)
	}
}

func read(text string) answer {
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		return answer{Error: err.Error()}
	}
	found := answer{Type: string(expression.Type()), Selectors: [][]matcher{}, Labels: []string{}}
	for _, selector := range parser.ExtractSelectors(expression) {
		matchers := []matcher{}
		for _, each := range selector {
			matchers = append(matchers, matcher{Label: each.Name, Type: each.Type.String(), Value: each.Value})
		}
		found.Selectors = append(found.Selectors, matchers)
	}
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		switch part := node.(type) {
		case *parser.AggregateExpr:
			found.Labels = append(found.Labels, part.Grouping...)
		case *parser.BinaryExpr:
			if part.VectorMatching != nil {
				found.Labels = append(found.Labels, part.VectorMatching.MatchingLabels...)
				found.Labels = append(found.Labels, part.VectorMatching.Include...)
			}
		}
		return nil
	})
	return found
}
