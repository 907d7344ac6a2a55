from hypothesis import strategies as st
CASES = st.nothing()
