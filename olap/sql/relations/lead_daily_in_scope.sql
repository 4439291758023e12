-- What lead_analytics is made from: everything, or only what was touched since the last publication.
SELECT * FROM lead_daily
