package sqlite
import ("testing";"database/sql")
func TestPlan(t *testing.T){ db,_:=sql.Open("sqlite",":memory:"); db.SetMaxOpenConns(1); if _,err:=db.Exec(schema);err!=nil{t.Fatal(err)}
rows,err:=db.Query("EXPLAIN QUERY PLAN SELECT run FROM runs WHERE ns = ? AND quarantine <> '' ORDER BY started DESC, run DESC LIMIT ?","d",1); if err!=nil{t.Fatal(err)}
for rows.Next(){var a,b,c int; var s string; rows.Scan(&a,&b,&c,&s); t.Log(s)}}
