SELECT 1; INSERT INTO a VALUES(?1, :b, @c, $d::e(f), x'4142', 'it''s', "x", [y], `z`) -- end
; /* c */ UPDATE a SET x=x||y->>'$.a' WHERE z<>0x1F AND y>=1.5e-3