package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/template"
)

// printFormat prints each item by a Go template, as docker's --format does, or
// as a line of JSON each for "json".
func printFormat[T any](w io.Writer, format string, items []T) error {
	if format == "json" {
		format = "{{json .}}"
	}
	format = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(format)
	t, err := template.New("--format").Funcs(template.FuncMap{
		"json": func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(b), err
		},
		"join": strings.Join, "lower": strings.ToLower, "upper": strings.ToUpper,
	}).Parse(format)
	if err != nil {
		return fmt.Errorf("bad template: %w", err)
	}
	for _, item := range items {
		if err := t.Execute(w, item); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	return nil
}
