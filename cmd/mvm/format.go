package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
	"text/template/parse"
)

// printFormat prints each item by a Go template, as docker's --format does, or
// as a line of JSON each for "json". After "table " come columns, under their names.
func printFormat[T any](w io.Writer, format string, items []T) error {
	if format == "json" {
		format = "{{json .}}"
	}
	format, table := strings.CutPrefix(format, "table ")
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
	if !table {
		return execute(w, t, items)
	}
	tw := newTable(w)
	fmt.Fprintln(tw, heading(t))
	return errors.Join(execute(tw, t, items), tw.Flush())
}

func execute[T any](w io.Writer, t *template.Template, items []T) error {
	for _, item := range items {
		if err := t.Execute(w, item); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	return nil
}

// heading is a template with the names of fields in place of what they hold.
func heading(t *template.Template) string {
	var b strings.Builder
	for _, node := range t.Root.Nodes {
		switch n := node.(type) {
		case *parse.TextNode:
			b.Write(n.Text)
		case *parse.ActionNode:
			for _, command := range n.Pipe.Cmds {
				for _, arg := range command.Args {
					if field, ok := arg.(*parse.FieldNode); ok {
						b.WriteString(strings.ToUpper(strings.Join(field.Ident, " ")))
					}
				}
			}
		}
	}
	return b.String()
}
