package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sluicedev/sluice/pkg/config"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheReadmeListsEverySetting(t *testing.T) {
	t.Parallel()
	if !strings.Contains(readme(t), config.Markdown()) {
		t.Error("the settings in README.md are not those of pkg/config: put this table there\n" + config.Markdown())
	}
}

var (
	sqlBlock = regexp.MustCompile("(?s)```sql\n(.*?)```")
	header   = regexp.MustCompile("^```sql\n[^`]*```\n```\n([^\n]*)\n")
)

// Every statement of the README runs, and answers with the columns that stand below it.
func TestTheReadmesSQLRuns(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.worker()
	s.enqueue("diary.entry", "hello")
	s.untilDone(1)
	text := readme(t)
	blocks := sqlBlock.FindAllStringSubmatchIndex(text, -1)
	if len(blocks) < 6 {
		t.Fatalf("%d statements", len(blocks))
	}
	for _, b := range blocks {
		sql := text[b[2]:b[3]]
		rows, err := s.db.Query(t.Context(), sql)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		var got []string
		for _, f := range rows.FieldDescriptions() {
			got = append(got, f.Name)
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
		if shown := header.FindStringSubmatch(text[b[0]:]); shown != nil {
			if want := strings.Fields(strings.ReplaceAll(shown[1], "|", " ")); strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("%s\nanswers with %v, the README shows %v", sql, got, want)
			}
		}
	}
}
