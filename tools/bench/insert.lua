-- wrk script: single-row inserts.
wrk.method = "POST"
wrk.body = '[["INSERT INTO foo(name, age) VALUES(?, ?)", "fiona", 20]]'
wrk.headers["Content-Type"] = "application/json"
